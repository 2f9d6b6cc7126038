"""The student, its teacher, their pretrained weights, and restoring a checkpoint."""
