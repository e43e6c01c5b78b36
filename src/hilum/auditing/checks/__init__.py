"""The checks of an audit, one file each. A check returns findings; `hilum.auditing.audit` lists it."""
