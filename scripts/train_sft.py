"""Train the supervised baseline: python -m scripts.train_sft experiment=sft/smoke

    python -m scripts.train_sft experiment=sft/gsm8k_smollm2_135m task.path=FOLDER

Start it again with the same arguments and it goes on from its last checkpoint.
"""

from omegaconf import DictConfig

from scripts.checking import check_early
from scripts.entry import script
from scripts.keeping import kept


@script("train_sft")
def main(cfg: DictConfig) -> None:
    """Compose, build, train."""
    check_early(cfg)
    with kept(cfg.output_dir):
        from scripts.supervising import train  # torch and transformers are imported only when they are needed

        train(cfg)


if __name__ == "__main__":
    main()
