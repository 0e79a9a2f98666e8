"""The language-model family: a line's score is the surprise at its tokens, each line a sentence of its own.

EM, BEM and their tiered forms after Tuor et al. 2018 (Recurrent Neural Network Language Models for Open Vocabulary
Event-Level Cyber Anomaly Detection), attention after Brown et al. 2018 (Recurrent Neural Network Attention Mechanisms
for Interpretable System Log Anomaly Detection), the transformer decoder after Radford et al. 2019 (GPT-2).
"""
