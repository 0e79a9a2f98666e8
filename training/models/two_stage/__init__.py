"""The two-stage family: a text autoencoder gives every line a vector, a detector predicts it from those before it.

After DeepSentry: stage 1 learns on single lines and keeps the encoder alone; stage 2 learns to predict the last vector
of a window. A line's score is the distance of its vector from the predicted one.
"""
