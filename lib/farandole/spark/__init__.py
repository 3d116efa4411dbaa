"""Runs the data stages and launches ranks on Spark. Never imports TensorFlow, Horovod or farandole.train."""
