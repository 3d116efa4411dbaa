"""Decides who gets what, with integers. Needs numpy, pandas, pyarrow and Pillow; no Spark, TensorFlow or Horovod."""
