"""Runs Apache Otava on series from stdin: stdin {series, thresholds}, stdout the number of series with a change point at each
threshold."""
import json
import sys

from otava.analysis import compute_change_points

job = json.load(sys.stdin)
print(json.dumps([
    sum(1 for series in job["series"] if compute_change_points(series, max_pvalue=threshold)[0])
    for threshold in job["thresholds"]
]))
