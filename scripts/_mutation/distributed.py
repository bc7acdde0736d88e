"""Mistakes in training on several ranks, and the tests meant to see each."""

from _mutation.runner import planted

AGREES = "test_ranks_train_as_one_process"
CONTINUED = "test_a_snapshot_continues_on_another_number_of_ranks"
MODULE = "test_distributed_training.py"

MUTANTS = (
    *planted(
        "distributed.py", "MPIRanks.sum_gradients", MODULE,
        ("gradients are added, not averaged", "gradient *= share", "pass", AGREES),
        ("each rank steps by its own gradient",
         "self._world.Allreduce(self._mpi.IN_PLACE, gradient)", "pass", AGREES),
        ("rows are not united over ranks", "np.greater(small[:-1], 0, out=used)", "pass", AGREES),
    ),
    *planted(
        "regularization.py", "set_streams", MODULE,
        ("dropout is indexed by a rank's own streams", "streams.start", "0", AGREES),
        ("dropout's masks depend on the number of ranks", "batch_size - len(streams)", "0",
         AGREES),
    ),
    *planted(
        "trainer.py", "train_step", MODULE,
        ("resets are indexed by a rank's own streams", "self.windows.streams.start", "0", AGREES),
        ("ranks weigh the same, whatever streams they have",
         "inputs.shape[1] / config.batch_size", "1 / self.ranks.size", AGREES),
    ),
    *planted(
        "batches.py", "Windows.__init__", MODULE,
        ("all ranks train on the first streams", "np.array(self.streams)",
         "np.arange(len(self.streams))", AGREES),
    ),
    *planted(
        "trainer.py", "restore", MODULE,
        ("all ranks resume the state of the last streams",
         "slice(self.windows.streams.start, self.windows.streams.stop)",
         "slice(-len(self.windows.streams), None)", CONTINUED),
    ),
    *planted(
        "distributed.py", "connect", "test_distributed.py",
        ("processes that are not connected train alone", "mpi.COMM_WORLD.size != started",
         "False", "test_an_mpi_that_is_not_the_launchers_is_refused"),
    ),
)  # fmt: skip
