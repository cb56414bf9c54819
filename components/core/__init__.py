"""The ground floor: recipes, tables, media, Spark, Horovod, MLflow. Imports nothing else of the project."""
