"""The DICOM node: takes radiographs from an archive, and sends reports back."""
