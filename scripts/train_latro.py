"""Train a model by LaTRO: python -m scripts.train_latro experiment=latro/smoke

    python -m scripts.train_latro experiment=latro/gsm8k_smollm2_135m task.path=FOLDER
    torchrun --nproc_per_node 8 -m scripts.train_latro experiment=latro/gsm8k_llama31_8b

Start it again with the same arguments and it goes on from its last checkpoint.
"""

from omegaconf import DictConfig

from scripts.checking import check_early
from scripts.entry import script
from scripts.keeping import kept


@script("train_latro")
def main(cfg: DictConfig) -> None:
    """Compose, build, train; or only say what it would take."""
    check_early(cfg)
    if cfg.plan:
        from scripts.planning import plan

        plan(cfg)
        return
    with kept(cfg.output_dir):
        from scripts.training import train  # torch and transformers are imported only when they are needed

        train(cfg)


if __name__ == "__main__":
    main()
