"""Mistakes in training on several ranks, and the tests meant to see each."""

from _mutation.runner import planted

AGREES = "test_ranks_train_as_one_process"
CONTINUED = "test_a_snapshot_continues_on_another_number_of_ranks"
EVALUATED = "test_ranks_evaluate_to_the_bits_of_one_process"
MODULE = "test_distributed_training.py"

MUTANTS = (
    *planted(
        "distributed.py", "MPIRanks.sum_gradients", MODULE,
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
        "step_gradient.py", "_window", MODULE,
        ("resets are indexed by a rank's own streams", "windows.streams.start", "0", AGREES),
    ),
    *planted(
        "step_gradient.py", "StepGradient.__init__", MODULE,
        ("means are over a rank's own streams", "config.batch_size", "len(windows.streams)",
         AGREES),
    ),
    *planted(
        "evaluation.py", "evaluate_text", MODULE,
        ("all ranks evaluate the first streams", "inputs[:, own], targets[:, own]",
         "inputs[:, :len(own)], targets[:, :len(own)]", EVALUATED),
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
        "distributed.py", "MPIRanks.explained", "test_distributed.py",
        ("a lost rank is told by MPI's own stack", "isinstance(error, self._mpi.Exception)",
         "False", "test_a_rank_that_lost_another_says_so_in_one_line_and_ends_the_job"),
    ),
    *planted(
        "distributed.py", "connect", "test_distributed.py",
        ("processes that are not connected train alone", "mpi.COMM_WORLD.size != started",
         "False", "test_an_mpi_that_is_not_the_launchers_is_refused"),
    ),
)  # fmt: skip
