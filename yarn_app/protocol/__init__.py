"""What the edge node, the master and the workers of one application exchange: key names and typed records.

For the other folders of `yarn_app`. It performs no input or output. A record that arrives with a wrong field is refused
with the path of the field.
"""
