"""From the pages of Parquet files to the batches of one rank."""
