"""From a specification to a running application, on the edge node.

For `YarnCluster` and the command line. What the edge can see to be wrong is refused before anything is submitted.
"""
