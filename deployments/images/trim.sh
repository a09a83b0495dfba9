#!/bin/sh
# Takes out of a Python environment what no program loads, and compiles the rest once, for a root file system that
# cannot be written. Bytecode is never compared with its source again, and all that is left was changed at one moment
# (1980, the first year that a zip file knows), so that the same packages give the same layer.
#
#   trim /opt/venv      libraries: their own tests, headers, stubs, symbols; Arrow's Flight and its doubled libraries
#   trim --base         the base image: pip, package lists, manuals, and what of the standard library is for developers
set -eu

compile() { python3 -m compileall -q -j 0 -f --invalidation-mode unchecked-hash "$1"; }
date_all() {
  find "$1" -xdev \( -path /proc -o -path /sys -o -path /dev \) -prune -o \
    -exec touch --no-dereference --date=@315532800 {} +
}

if [ "$1" = --base ]; then
  library=$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')
  rm -rf /var/lib/apt/lists/* /var/cache/apt /var/cache/debconf/*-old /var/log/* /root/.cache \
    /usr/share/doc /usr/share/man /usr/share/info /usr/share/locale /usr/share/python-wheels /usr/share/lintian
  for place in "$library/site-packages" "$library/dist-packages" /usr/lib/python3/dist-packages; do
    rm -rf "$place"/pip "$place"/pip-* "$place"/setuptools "$place"/setuptools-* "$place"/wheel "$place"/wheel-* \
      "$place"/pkg_resources "$place"/_distutils_hack
  done
  rm -f /usr/bin/pip* /usr/local/bin/pip* /usr/local/bin/wheel /usr/bin/wheel
  for name in ensurepip idlelib lib2to3 pydoc_data test turtledemo tkinter; do rm -rf "${library:?}/$name"; done
  find "$library" -type d -name __pycache__ -prune -exec rm -rf {} +
  compile "$library"
  date_all /
  exit
fi

packages=$(echo "$1"/lib/python3.*/site-packages)
for name in arro3 fsspec joblib matplotlib numpy pandas pyarrow scipy skops sklearn statsmodels; do
  if [ -d "$packages/$name" ]; then find "$packages/$name" -type d -name tests -prune -exec rm -rf {} +; fi
done
find "$packages" -type f \( -name '*.pyi' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.pxi' -o -name '*.h' \
  -o -name '*.hpp' -o -name '*.c' -o -name '*.cc' -o -name '*.cpp' -o -name '*.js.map' \) -delete
for arrow in "$packages"/pyarrow; do
  rm -f "$arrow"/*flight* "$arrow"/libarrow*.so "$arrow"/libarrow*.so.*.*.*
  rm -rf "$arrow"/include "$arrow"/src
  strip --strip-unneeded "$arrow"/*.so*
done
strip --strip-unneeded "$packages"/uvloop/*.so "$packages"/xgboost/lib/*.so "$packages"/yaml/*.so
compile "$packages"
date_all "$1"
