"""The four losses of the objective, one file each, as functions of tensors, and their weighted sum."""
