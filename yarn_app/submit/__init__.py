"""From a specification to a running application, on the edge node, and on to its end.

For `YarnCluster` and the command line. What the edge node can see to be wrong is refused before anything is submitted;
every wait has a deadline.
"""
