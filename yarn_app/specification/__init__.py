"""What a user asks for: `Specification`, its fields and units, and names of other tools for its fields.

For users and every other folder of `yarn_app`; it imports none of them. An error names path, value and remedy.
"""
