# shellcheck shell=bash
# Sourced: how long the stages of a script take. The first starts with the script.
minutes=()
lap_began=$SECONDS

# lap NAME: the time since the last lap went into NAME.
lap() {
  local tenths=$(((SECONDS - lap_began + 3) / 6))
  minutes+=("$1 $((tenths / 10)).$((tenths % 10))")
  lap_began=$SECONDS
}

show_minutes() {
  local line
  line=$(printf '%s, ' "${minutes[@]}")
  echo "minutes: ${line%, }"
}
