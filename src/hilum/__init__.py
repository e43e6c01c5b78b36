"""hilum: from a folder of labelled chest radiographs to a classifier whose worth is known."""

__version__ = "0.1.0"
