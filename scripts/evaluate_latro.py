"""Evaluate a model: python -m scripts.evaluate_latro model.path=runs/.../best task=gsm8k

Greedy decoding and maj@k under every grader, likelihood scores for multiple choice, and the answer's likelihood
with the own rationale, with none and with another prompt's. This is the only script that opens the test split.
"""

from omegaconf import DictConfig

from scripts.checking import check_early
from scripts.entry import script
from scripts.keeping import kept


@script("evaluate_latro")
def main(cfg: DictConfig) -> None:
    """Compose, load, evaluate, print."""
    check_early(cfg)
    with kept(cfg.output_dir):
        from scripts.evaluating import evaluate_model

        evaluate_model(cfg)


if __name__ == "__main__":
    main()
