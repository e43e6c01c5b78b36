"""The checks of an audit, one file each. A check returns findings; `hilum.audit.audit` lists it."""
