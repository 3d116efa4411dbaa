"""Trains and evaluates on Horovod ranks with Keras 3 on TensorFlow. Never imports pyspark or farandole.spark."""
