"""The results cache: values of calls on disk, found again by the same call of the same version.

`calls` and `maps` ask `results` before they call; `store` is the folder. `function_hashes`, `module_versions`
and `argument_keys` are what a key is made of, `checks` what may be asked for.
"""
