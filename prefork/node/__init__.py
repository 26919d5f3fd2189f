"""The Node preload: an unmodified Node server shares the listening sockets of prefork. PURE.

node_environment.py  the variables that make Node load the shim
shim.cjs             the preload itself, which Node runs before the program

Design
------
- **Every program with a bound socket gets the variables, whatever its command is.** A shell
  script, make, a version manager or an entry point of a container may lead to Node, and only the
  Node process itself knows that it is one. Other runtimes do not read the variables. A list of
  commands (node, npm, next, …) would miss each launcher that it does not name.
- **The shim says that it is there** (``X_PREFORK_NODE``), and only then `prefork show` names it.
- **NODE_OPTIONS is appended to:** it may hold the options of the operator, of yarn's Plug'n'Play,
  or of a tracer, whose modules are to be loaded first.
"""
