"""What `convert` is made of: the editor's graph, and what the editor does with it until there is a prompt."""
