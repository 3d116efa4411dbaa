"""Decides who gets what, with integers. Needs numpy, pandas' hash, pyarrow and Pillow; no Spark, TensorFlow or Horovod."""
