"""YARN itself: the one door to skein, the ResourceManager over REST, containers' logs, this edge node.

For the other folders of `yarn_app`. No other module imports skein. Every wait has a deadline.
"""
