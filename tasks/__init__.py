"""Prefect tasks: thin wrappers that give pure functions a name, a cache and a retry policy.

Exceptions of the whole project:

    BaseException
      TrainingInterrupted  the training was asked to stop; it can resume from its last checkpoint
      Terminated           SIGTERM, so that the command line ends in order
      Exception
        StoreError         the store can't be used as asked
          Unavailable      transient: out of reach, worth a retry
          Missing          no such key
          Damaged          the bytes are not those that the ref names
            Oversized      too large to be what it should be; it is not read
        NoConditionalWrites        the store has no conditional writes
        _Busy            another process makes the piece
        _Reserved        another process holds the name
        RuntimeError
          Diverged         the training's loss has exploded
          Hopeless         a search has stopped the training early
          OtherVersion     another version of relevo has dispatched the run
          StageFailed      stages of a run failed, and it has finished the others
        ConnectionError
          MachineLost      a machine has left the training, which goes on from its last checkpoint
          MachinesDiffer   the machines have not read the same checkpoint
        TimeoutError
          MachinesMissing  not all machines of a training have come
        ValueError
          BadInput         a user's input; one line, exit status 2, never retried
          UnreadableError  one image file; it is left out and named
          Refused          a layer of a foreign network can't be rebuilt; becomes BadInput
          ShapeError       a layer can't take its inputs; becomes BadInput
          WeightsError     a foreign file holds something that Keras doesn't write; becomes BadInput

Python's own, on purpose: ConnectionError (a download failed, worth a retry) and ChildProcessError (a
process that decodes was killed).
"""
