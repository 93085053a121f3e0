"""Container images (OCI): made of layer trees in the store, written to layout folders, and imported as OSTree commits.

Public names: `compress_layer`, `register_blob`, `LayerBlob` (layer); `ImageLayer`, `ImageSettings`, `build_image`,
`make_image`, `write_image` (image); `Layout` (layout); `import_layout`, `import_image`, `read_layer`, `machine_tree`,
`commit_for_image` (importer); `images`, `image_documents`, `remove_unused_layers` (stored); `write_tar` (tarball).
"""
