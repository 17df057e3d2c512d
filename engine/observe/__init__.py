"""Former places of `howdah.account` and `howdah.visualize`, kept for programs that import them; each import warns.

For users' old programs alone; nothing in howdah imports this folder. Write `from howdah import account, visualize`.
"""
