"""
Other dispute games, modelled at the level of what is published about them: `op_stack`, `bold`, `tournament`, `dave`.

They are here to check the laboratory against known numbers, and to set the project's own game beside others. Each model
says what it leaves out. What could be reproduced and what not: docs/reports/validation.md.
"""
