"""YARN itself: skein's client, the ResourceManager over REST, containers' logs, reports, and this edge node.

For the other folders of `yarn_app`. No other module imports skein. Every wait has a deadline.
"""
