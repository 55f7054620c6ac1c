from tests.training.stages.runs import environment, one_thread, tables

__all__ = ["environment", "one_thread", "tables"]
