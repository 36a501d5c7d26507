#!/bin/sh
# Menu entry for Shoji, made by `shoji grub-entry`. Install it as /etc/grub.d/09_shoji, executable, then run
# update-grub (or grub-mkconfig -o /boot/grub/grub.cfg). To remove Shoji: delete it and run update-grub again.
# It comes after 00_header, whose choice of default and timeout it overrides in the first pass, and before the
# entries of the operating systems.
set -e
. "${pkgdatadir:-/usr/share/grub}/grub-mkconfig_lib"

image='@IMAGE@'
config='@CONFIG@'
# LUKS2 headers that GRUB loads; none named: those beside the configuration.
headers='@HEADERS@'

for file in "$image" "$config"; do
  if ! [ -f "$file" ]; then
    grub_warn "$file is missing: the menu gets no entry for Shoji."
    exit 0
  fi
done

# See below what save_env asks of the environment block.
for env in /boot/grub/grubenv /boot/grub2/grubenv; do
  if [ -d "${env%/*}" ]; then
    [ -f "$env" ] || grub-editenv "$env" create || grub2-editenv "$env" create || true
    place="$("$grub_probe" --target=abstraction "$env" || true) $("$grub_probe" --target=fs "$env" || true)"
    case "$place" in
      *diskfilter* | *lvm* | *btrfs* | *zfs*)
        grub_warn "GRUB cannot write $env ($place): a failed start of Shoji will be tried again at every boot." ;;
    esac
  fi
done

# Assigned first, so that a probe that fails ends the script with its error.
device="$("$grub_probe" --target=device "$image")"
access="$(prepare_grub_to_access_device "$device")"
grub_image="$(make_system_path_relative_to_its_root "$image")"
grub_config="$(make_system_path_relative_to_its_root "$config")"

# The name of a header file, without its suffix, is what the rules of the configuration call it.
modules="  true"
for header in ${headers:-"${config%/*}"/*@SUFFIX@}; do
  if ! [ -f "$header" ]; then
    # The pattern stands for itself where there is none.
    [ -z "$headers" ] || grub_warn "$header is missing: Shoji will not start without the header of its volume."
    continue
  fi
  name="${header##*/}"
  name="${name%@SUFFIX@}"
  case "$name" in
    *[!A-Za-z0-9._+-]* | [!A-Za-z0-9]* | "")
      grub_warn "$header is left out: the name of a header file has letters, digits and . _ + - only."
      continue ;;
  esac
  grub_header="$(make_system_path_relative_to_its_root "$header")"
  modules="$modules
  module2 \"$grub_header\" @MODULE@$name"
done

cat << END_OF_GRUB_SCRIPT
function shoji_find_files {
$access
}
function shoji_load_headers {
$modules
}
set shoji_image="$grub_image"
set shoji_config="$grub_config"
END_OF_GRUB_SCRIPT
cat << 'END_OF_GRUB_SCRIPT'
@PASS@END_OF_GRUB_SCRIPT
