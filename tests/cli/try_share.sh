#!/usr/bin/env bash
# Uses the completions and manual pages that the program writes, in real shells and in groff; zsh, fish and
# mandoc where they are installed. Argument: the program.
set -euo pipefail
program=$1
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
share=$scratch/share
"$program" write-share "$share"

fail() { echo "try_share: $1" >&2; exit 1; }

# expect WHAT PART...: the lines on standard input have each part as a line; !PART: they do not.
expect() {
  local what=$1 found
  found=$(cat)
  shift
  for part; do
    if [ "${part:0:1}" = "!" ]; then
      if grep -qxF -e "${part:1}" <<<"$found"; then fail "$what: offers '${part:1}'"; fi
    else
      grep -qxF -e "$part" <<<"$found" || fail "$what: no '$part' in: $(tr '\n' ' ' <<<"$found")"
    fi
  done
}

bash -n "$share/bash-completion/completions/assay"
in_bash() {
  bash --norc -c 'source "$1"; shift; cd "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _assay
    printf "%s\n" "${COMPREPLY[@]}"' _ "$share/bash-completion/completions/assay" "$scratch" "$@"
}
mkdir "$scratch/dumps"
touch "$scratch/dump file.npz"
in_bash assay "" | expect "bash: commands" compare diagnose help completion '!write-share' '!--json'
in_bash assay comp | expect "bash: comp" compare completion '!diagnose'
in_bash assay --color never comp | expect "bash: after an option" compare
in_bash assay --color = never comp | expect "bash: after an option with =" compare
in_bash assay - | expect "bash: -" --version -V --help
in_bash assay compare --m | expect "bash: options" --map --model '!--prompt'
in_bash assay compare --strict --js | expect "bash: after a switch" --json
in_bash assay compare --map v | expect "bash: --map" '!llama.cpp'
in_bash assay compare --map vL | expect "bash: --map" vLLM
in_bash assay compare --map = "" | expect "bash: --map=" vLLM llama.cpp
in_bash assay compare d | expect "bash: arguments" dumps "dump file.npz"
in_bash assay extract --out d | expect "bash: directories" dumps '!dump file.npz'
in_bash assay extract --taps 'layer_*_q' | expect "bash: --taps" 'layer_*_q_proj' 'layer_*_q_rope'
in_bash assay synth --like Qwen3-0 | expect "bash: --like" Qwen3-0.6B
in_bash assay extract --color n | expect "bash: --color" never '!always'
in_bash assay help dia | expect "bash: help" diagnose
in_bash assay completion z | expect "bash: completion" zsh

# Somebody types, with the tabulator. The keys come through a pipe that does not end, so that the shell ends
# only when it is told to.
mkfifo "$scratch/keys"
exec 9<>"$scratch/keys"
type_in() {
  local shell=$1 keys=$2
  printf '%b' "$keys" >&9
  timeout 300 script -qec "$shell" /dev/null <"$scratch/keys" 2>&1 | tr -d '\r'
}
cat >"$scratch/bashrc" <<EOF
source $share/bash-completion/completions/assay
assay() { echo "ran[\$*]"; }
EOF
type_in "bash --noprofile --rcfile $scratch/bashrc -i" 'assay compa\treference --jun\tx.xml --col\tnev\t\nexit\n' |
  grep -qF 'ran[compare reference --junit x.xml --color never]' || fail "bash, typed"

if command -v zsh >/dev/null; then
  zsh -n "$share/zsh/site-functions/_assay"
  cat >"$scratch/.zshrc" <<EOF
fpath=($share/zsh/site-functions \$fpath)
autoload -U compinit && compinit -u -D
assay() { print "ran[\$*]" }
EOF
  type_in "env ZDOTDIR=$scratch TERM=dumb zsh -i" \
    "assay compa\treference --jun\tx.xml --strict --map vL\t--col\tnev\t\nassay extract --taps 'layer_*_attn_c\t\nexit\n" >"$scratch/zsh"
  grep -qE 'ran\[compare reference --junit[ =]x.xml --strict --map vLLM --color[ =]never' "$scratch/zsh" ||
    { cat "$scratch/zsh"; fail "zsh, typed"; }
else
  echo "no zsh"
fi

if command -v fish >/dev/null; then
  in_fish() {
    HOME=$scratch fish --no-config -c "source $share/fish/vendor_completions.d/assay.fish; cd $scratch; complete -C '$1'" |
      cut -f 1
  }
  in_fish 'assay ' | expect "fish: commands" compare help '!write-share'
  in_fish 'assay compare --m' | expect "fish: options" --map --model '!--prompt'
  in_fish 'assay compare --strict --js' | expect "fish: after a switch" --json
  in_fish 'assay compare --map vL' | expect "fish: --map" vLLM
  in_fish 'assay compare d' | expect "fish: arguments" dumps/
  in_fish 'assay extract --color n' | expect "fish: --color" never
  in_fish 'assay extract --taps layer_' | expect "fish: --taps" 'layer_*_q_proj'
  in_fish 'assay help dia' | expect "fish: help" diagnose
else
  echo "no fish"
fi

pages=0
for page in "$share"/man/man1/*.1; do
  warnings=$(groff -man -Tutf8 -ww -z -rLL=80n "$page" 2>&1)
  [ -z "$warnings" ] || fail "$(basename "$page"): $warnings"
  if command -v mandoc >/dev/null; then
    # A page without a date is the same on every day.
    warnings=$(mandoc -T lint -W warning "$page" 2>&1 | grep -v 'missing date' || true)
    [ -z "$warnings" ] || fail "$(basename "$page"): $warnings"
  fi
  name=$(basename "$page" .1)
  text=$(groff -man -Tascii -P-cbou -rLL=80n "$page")
  grep -q "^NAME" <<<"$text" || fail "$name: no NAME"
  command=${name#assay}
  # Every option of the help is in the page.
  "$program" ${command#-} --help | grep -oE '^  (-[a-zA-Z], )?--[a-z-]+' | grep -oE -e '--[a-z-]+' |
    while read -r option; do
      grep -q -e "$option" <<<"$text" || fail "$name: no $option"
    done
  pages=$((pages + 1))
done
[ "$pages" -eq 15 ] || fail "$pages manual pages"

# The program declares the options of capture and golden, which Python reads.
options_in() { grep -oE '^  (-[a-zA-Z], )?--[a-z-]+' | grep -oE -e '--[a-z-]+' | grep -v -e --color | sort; }
python=$(PYTHONPATH=$(dirname "$0")/../../python python3 -c '
import assay.capture.__main__ as program
program.parse_arguments(["--help"])' | options_in)
[ "$python" = "$("$program" capture --help | options_in)" ] || fail "options of capture: $python"
python=$(PYTHONPATH=$(dirname "$0")/../../python python3 -c '
import assay._golden_command
assay._golden_command._parser().parse_args(["--help"])' | options_in)
[ "$python" = "$("$program" golden --help | options_in)" ] || fail "options of golden: $python"
echo "completed, typed, read"
