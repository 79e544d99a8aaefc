"""The site bundle: one folder from which a site without internet installs. `make bundle`, `make unbundle`.

What a closed site runs (`unbundle`, `checksums`, `oci_layout`, `registry`, `references`) needs the standard library
only, because the site has nothing installed yet. The bundle carries it as `unbundle.pyz`.
"""
