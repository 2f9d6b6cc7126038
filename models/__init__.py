"""The student, its teacher, and the weights they start from."""
