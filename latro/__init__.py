"""LaTRO: a language model learns to reason from its own likelihood of the gold answer.

For a prompt x with gold answer y the policy π draws K rationales z_k ~ π(·|x), and

    r_k = log π(y | x, z_k) - β (log π(z_k | x) - log π0(z_k | x))        reward, nats       (paper, eq. 5)
    A_k = r_k - mean of the other K - 1 rewards                           advantage          (paper, eq. 6)
    ∇J  = mean_k [ A_k ∇ log π(z_k | x) + λ ∇ log π(y | x, z_k) ]         ascent direction   (paper, eq. 7)

Read in this order: types, tasks/base, encoding, rollout, sampling, likelihood, objective, scoring, trainer, evaluation.
This module exports nothing.
"""
