"""The version of howdah. A leaf that imports nothing, so that every folder can read it without the root package."""

VERSION = "0.1.0"
