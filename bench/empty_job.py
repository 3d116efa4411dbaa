"""A Spark job that does nothing but have a session: what spark-submit itself takes."""

from pyspark.sql import SparkSession

SparkSession.builder.getOrCreate().stop()
