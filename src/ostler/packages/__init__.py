"""Reading the package databases of images and hosts, and comparing them.

Public names: `parse_status`, `parse_stanzas`, `parse_dependencies`, `compare_versions`, `version_key`,
`InstalledPackage` (dpkg); `compare`, `PackageDiff`, `PackageChange` (difference). Nothing here runs a package manager.
"""
