"""What is asked for: `Specification`, its units, and names of other tools for its fields.

For users and every other folder of `yarn_app`. An error names field, value and remedy.
"""
