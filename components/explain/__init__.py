"""Explanation: which parts of a picture a classifier's score hangs on (LIME on Spark), and the boxes around them."""
