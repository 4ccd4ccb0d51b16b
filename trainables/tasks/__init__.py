"""What is trained: the images of this project, or a task of one's own, behind one seam."""
