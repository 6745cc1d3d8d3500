"""Speech and mixtures: files, public sets, generated voices, batches."""
