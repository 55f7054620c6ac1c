"""Where the files of a job lie: a folder that all workers see, or an object store."""
