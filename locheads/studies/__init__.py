"""One module for each question of the study that goes beyond a single evaluation."""
