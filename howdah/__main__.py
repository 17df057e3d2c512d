"""`python -m howdah` and the `howdah` command: hands over to `howdah.yarn_app.cli`."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    from howdah.yarn_app.cli import main as cli

    cli()


if __name__ == "__main__":
    main()
