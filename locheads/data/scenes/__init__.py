"""The specimen's data set: generated scenes with referring expressions, in the published layouts."""
