"""The sequence-autoencoder family: windows of times and events, reconstructed through a narrow latent.

After SecuriteAI. A line's score is the error of its reconstruction; normal sequences are reconstructed well.
"""
